// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.27;

import {AccessManaged} from "@openzeppelin/contracts/access/manager/AccessManaged.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {IComplianceRegistry} from "./parts/IComplianceRegistry.sol";
import {IRegistered} from "./parts/IRegistered.sol";
import {Operations} from "./parts/Operations.sol";
import {Restriction, Restrictions, TransferRestricted} from "./parts/Restrictions.sol";

/// @title Who may hold the tokens of one issuer, and how much.
/// @notice Keeps what an attester found out about investors, which wallets are theirs, the rules of each token, and
/// what each investor holds over all wallets. A token asks before and tells after each move.
/// @dev Rules are about investors, never about single wallets. A wallet linked to nobody is an investor of its own,
/// whose id is the wallet's address; nobody attests anything about it. Counters are correct only because a token is
/// registered before its first unit and tells of every move. Subtractions stop at zero, so that a count that a token
/// once failed to tell of never locks a holder in.
contract ComplianceRegistry is AccessManaged, Operations, IComplianceRegistry {
    /// @notice What is known about an investor.
    /// @param country ISO 3166-1 numeric; 0 if unknown.
    /// @param level 1 to 255, the higher the more was examined; 0 if nothing is attested.
    /// @param blocked Whether every move by or to the investor is refused.
    /// @param expiresAt From this second on the attestation is void; 0 for never.
    /// @param attester Who set the identity last.
    struct Identity {
        uint16 country;
        uint8 level;
        bool blocked;
        uint64 expiresAt;
        address attester;
    }

    /// @notice One row of `batchSetIdentity`.
    /// @param investor The investor's id; not an address.
    /// @param country ISO 3166-1 numeric; 0 if unknown.
    /// @param level 1 to 255; 0 to take the attestation away.
    /// @param expiresAt From this second on it is void; 0 for never.
    /// @param tokens Every registered token that the investor holds, ascending; read only if the country changes.
    struct Attested {
        bytes32 investor;
        uint16 country;
        uint8 level;
        uint64 expiresAt;
        address[] tokens;
    }

    /// @notice The rules of one token; zero switches a rule off.
    /// @param levelMin The least level of a sender and of a receiver.
    /// @param countryRule 0 for none, 1 for the listed countries only, 2 for all but the listed ones.
    /// @param holdersMax How many investors may hold the token.
    /// @param countryHoldersMax How many investors of one country may; unknown (0) counts as a country.
    /// @param holdingMax How many base units one investor may hold.
    struct Policy {
        uint8 levelMin;
        uint8 countryRule;
        uint32 holdersMax;
        uint32 countryHoldersMax;
        uint256 holdingMax;
    }

    /// @dev One word: what every judgement needs of a token.
    struct Rules {
        bool registered;
        uint8 levelMin;
        uint8 countryRule;
        bool holdingLimited;
        bool lotted;
        uint32 holders;
        uint32 holdersMax;
        uint32 countryHoldersMax;
    }

    /// @dev `holdersMax` is the country's own limit; 0 leaves the policy's.
    struct CountryCount {
        uint32 holders;
        uint32 holdersMax;
    }

    /// @dev One word.
    struct Lot {
        uint192 amount;
        uint64 unlocksAt;
    }

    struct TokenState {
        Rules rules;
        uint256 holdingMax;
        mapping(uint256 word => uint256) listed;
        mapping(uint256 country => CountryCount) countries;
        mapping(bytes32 investor => uint256) holdings;
        mapping(bytes32 investor => Lot[]) lots;
    }

    /// @dev One end of a move; `investor` is zero where there is none, as in a mint.
    struct Side {
        bytes32 investor;
        uint256 country;
        uint256 level;
        bool blocked;
        uint256 expiresAt;
        uint256 holding;
    }

    uint8 private constant RULE_LISTED_ONLY = 1;
    uint8 private constant RULE_LISTED_NOT = 2;

    /// @dev ISO's numbers have three digits.
    uint256 private constant COUNTRIES = 1024;

    /// @dev Bounds what a judgement may cost.
    uint256 private constant LOTS_MAX = 16;

    /// @dev The receiver's codes are the sender's, this much higher.
    uint8 private constant RECEIVER = Restrictions.RECEIVER_UNIDENTIFIED - Restrictions.SENDER_UNIDENTIFIED;

    mapping(bytes32 investor => Identity) private _identities;
    mapping(address wallet => bytes32 investor) private _investors;
    mapping(address token => TokenState) private _tokens;

    /// @dev Of which registered tokens a wallet has a balance: the sum of their marks (`_mark`), so that a list of them
    /// can be checked. A number alone would not do: of a token that has given up this registry the balance says
    /// nothing, so it could stand in the list for one that is held.
    mapping(address wallet => uint256) private _walletTokens;

    /// @dev Of how many registered tokens an investor has a holding. A number does here, since holdings are kept here.
    mapping(bytes32 investor => uint256) private _investorTokens;

    /// @notice What is attested about `investor` from here on.
    /// @param investor The investor's id.
    /// @param country ISO 3166-1 numeric; 0 if unknown.
    /// @param level 1 to 255; 0 if nothing is attested.
    /// @param expiresAt From this second on it is void; 0 for never.
    /// @param attester Who says so.
    event IdentitySet(
        bytes32 indexed investor,
        uint16 country,
        uint8 level,
        uint64 expiresAt,
        address indexed attester
    );

    /// @notice Whether every move by or to `investor` is refused from here on.
    /// @param investor The investor's id, or the address of a wallet linked to nobody.
    /// @param blocked True if so.
    /// @param reasonHash The hash of the reason, which is kept elsewhere.
    event InvestorBlocked(bytes32 indexed investor, bool blocked, bytes32 reasonHash);

    /// @notice Whose wallet `wallet` is from here on.
    /// @param wallet The wallet.
    /// @param investor The investor's id; zero if it is nobody's.
    event WalletLinked(address indexed wallet, bytes32 indexed investor);

    /// @notice The rules of `token` from here on.
    /// @param token The token.
    /// @param levelMin The least level of a sender and of a receiver.
    /// @param countryRule 0 for none, 1 for the listed countries only, 2 for all but the listed ones.
    /// @param holdersMax How many investors may hold it; 0 for any number.
    /// @param countryHoldersMax How many investors of one country may; 0 for any number.
    /// @param holdingMax How many base units one investor may hold; 0 for any number.
    /// @param countries The listed countries.
    event PolicySet(
        address indexed token,
        uint8 levelMin,
        uint8 countryRule,
        uint32 holdersMax,
        uint32 countryHoldersMax,
        uint256 holdingMax,
        uint16[] countries
    );

    /// @notice The limit of one country's own from here on.
    /// @param token The token.
    /// @param country ISO 3166-1 numeric; 0 for investors whose country is unknown.
    /// @param holdersMax How many of its investors may hold the token; 0 if the policy's limit applies.
    event CountryHoldersMaxSet(address indexed token, uint16 indexed country, uint32 holdersMax);

    /// @notice All lots of `investor` from here on.
    /// @param token The token.
    /// @param investor The investor's id, or the address of a wallet linked to nobody.
    /// @param amounts Base units of each lot.
    /// @param unlocksAt From this second on the lot binds no longer.
    event LotsSet(address indexed token, bytes32 indexed investor, uint256[] amounts, uint64[] unlocksAt);

    /// @notice No investor has this id: it is zero, or an address where an id is needed.
    /// @param investor The id.
    error InvestorInvalid(bytes32 investor);

    /// @notice The zero address is nobody's wallet.
    error WalletInvalid();

    /// @notice A blocked investor keeps its wallets; a wallet must not leave the block behind by changing hands.
    /// @param investor The investor whose wallet it is.
    error InvestorStillBlocked(bytes32 investor);

    /// @notice Not a number that a country can have here.
    /// @param country The number.
    error CountryInvalid(uint16 country);

    /// @notice The rule is none of 0, 1 and 2.
    /// @param countryRule The number.
    error CountryRuleInvalid(uint8 countryRule);

    /// @notice The token was never given a policy.
    /// @param token The token.
    error TokenNotRegistered(address token);

    /// @notice There is no contract at this address.
    /// @param token The address.
    error TokenMissing(address token);

    /// @notice Units exist already, which nobody counted.
    /// @param token The token.
    error AlreadyIssued(address token);

    /// @notice The list must name every token held.
    /// @param held How many registered tokens are held.
    /// @param given How many the list names.
    error TokensIncomplete(uint256 held, uint256 given);

    /// @notice The list must be strictly ascending, so that none is in it twice.
    error TokensUnsorted();

    /// @notice The list is as long as it must be, but names other tokens than those of which the wallet has a balance.
    error TokensMismatched();

    /// @notice The list names a token that is not held.
    /// @param token The token.
    error TokenNotHeld(address token);

    /// @notice An investor has at most sixteen lots of a token.
    /// @param given How many were given.
    error LotsTooMany(uint256 given);

    /// @notice A lot has less than 2**192 base units.
    /// @param amount The amount given.
    error LotTooLarge(uint256 amount);

    /// @notice Two lists that belong together differ in length.
    /// @param left The length of the first.
    /// @param right The length of the second.
    error LengthMismatch(uint256 left, uint256 right);

    /// @notice The authority is not a contract, so nobody could ever write.
    error AuthorityMissing();

    /// @notice Makes an empty registry.
    /// @param authority_ The access manager that says who may write.
    constructor(address authority_) AccessManaged(authority_) {
        require(authority_.code.length != 0, AuthorityMissing());
    }

    /// @notice Sets what is attested about an investor; whether it is blocked stays as it is.
    /// @param investor The investor's id; not an address.
    /// @param country ISO 3166-1 numeric; 0 if unknown.
    /// @param level 1 to 255; 0 to take the attestation away.
    /// @param expiresAt From this second on it is void; 0 for never.
    /// @param tokens Every registered token that the investor holds, ascending; read only if the country changes,
    /// because then the investor is counted in another country.
    /// @param operationId The id to burn; not zero.
    function setIdentity(
        bytes32 investor,
        uint16 country,
        uint8 level,
        uint64 expiresAt,
        address[] calldata tokens,
        bytes32 operationId
    ) external restricted once(operationId) {
        _setIdentity(investor, country, level, expiresAt, tokens);
    }

    /// @notice Sets what is attested about several investors, all or none.
    /// @param identities What `setIdentity` takes, for each.
    /// @param operationId The id to burn; not zero.
    function batchSetIdentity(
        Attested[] calldata identities,
        bytes32 operationId
    ) external restricted once(operationId) {
        for (uint256 i = 0; i < identities.length; ++i) {
            Attested calldata given = identities[i];
            _setIdentity(given.investor, given.country, given.level, given.expiresAt, given.tokens);
        }
    }

    /// @notice Blocks an investor in all tokens, or ends that.
    /// @param investor The investor's id, or the address of a wallet linked to nobody.
    /// @param blocked Whether every move by or to it is refused.
    /// @param reasonHash The hash of the reason, which is kept elsewhere.
    /// @param operationId The id to burn; not zero.
    function setBlocked(
        bytes32 investor,
        bool blocked,
        bytes32 reasonHash,
        bytes32 operationId
    ) external restricted once(operationId) {
        require(investor != 0, InvestorInvalid(investor));
        _identities[investor].blocked = blocked;
        emit InvestorBlocked(investor, blocked, reasonHash);
    }

    /// @notice Says whose wallet a wallet is; what it holds is counted with its investor from then on. That is a fact
    /// and no move: no limit stops it, except that units stay in locked lots and wallets with a blocked investor.
    /// @param wallet The wallet.
    /// @param investor The investor's id; zero if it is nobody's.
    /// @param tokens Every registered token of which the wallet has a balance, ascending; read only if the investor
    /// changes. One that has given up this registry is in the list too, because it is still counted.
    /// @param operationId The id to burn; not zero.
    function linkWallet(
        address wallet,
        bytes32 investor,
        address[] calldata tokens,
        bytes32 operationId
    ) external restricted once(operationId) {
        require(wallet != address(0), WalletInvalid());
        require(investor == 0 || !_isWallet(investor), InvestorInvalid(investor));
        bytes32 former = _investorIdOf(wallet);
        _investors[wallet] = investor;
        bytes32 next = _investorIdOf(wallet);
        if (former != next) {
            require(!_identities[former].blocked, InvestorStillBlocked(former));
            uint256 held = _walletTokens[wallet];
            _checkTokens(tokens, uint16(held));
            uint256 given = 0;
            for (uint256 i = 0; i < tokens.length; ++i) {
                unchecked {
                    given += _mark(tokens[i]);
                }
                _moveHolding(tokens[i], wallet, former, next);
            }
            require(given == held, TokensMismatched());
        }
        emit WalletLinked(wallet, investor);
    }

    /// @notice Sets the rules of a token; the first time, before its first unit, it also registers it.
    /// @param token The token.
    /// @param policy_ The rules. With "all but the listed countries" an unknown country is not a listed one, so that
    /// rule needs a level beside it.
    /// @param countries The listed countries, in place of those listed before.
    /// @param operationId The id to burn; not zero.
    function setPolicy(
        address token,
        Policy calldata policy_,
        uint16[] calldata countries,
        bytes32 operationId
    ) external restricted once(operationId) {
        require(policy_.countryRule <= RULE_LISTED_NOT, CountryRuleInvalid(policy_.countryRule));
        TokenState storage state = _tokens[token];
        Rules memory rules = state.rules;
        if (!rules.registered) {
            require(token.code.length != 0, TokenMissing(token));
            require(IRegistered(token).totalSupply() == 0, AlreadyIssued(token));
        }
        state.rules = Rules({
            registered: true,
            levelMin: policy_.levelMin,
            countryRule: policy_.countryRule,
            holdingLimited: policy_.holdingMax != 0,
            lotted: rules.lotted,
            holders: rules.holders,
            holdersMax: policy_.holdersMax,
            countryHoldersMax: policy_.countryHoldersMax
        });
        state.holdingMax = policy_.holdingMax;
        // slither-disable-next-line uninitialized-local Solidity fills a memory array with zeros
        uint256[COUNTRIES / 256] memory words;
        for (uint256 i = 0; i < countries.length; ++i) {
            uint16 country = countries[i];
            require(country != 0 && country < COUNTRIES, CountryInvalid(country));
            words[country / 256] |= 1 << (country % 256);
        }
        for (uint256 i = 0; i < words.length; ++i) state.listed[i] = words[i];
        emit PolicySet(
            token,
            policy_.levelMin,
            policy_.countryRule,
            policy_.holdersMax,
            policy_.countryHoldersMax,
            policy_.holdingMax,
            countries
        );
    }

    /// @notice Gives one country a limit of its own.
    /// @param token A registered token.
    /// @param country ISO 3166-1 numeric; 0 for investors whose country is unknown.
    /// @param holdersMax How many of its investors may hold the token; 0 for the policy's limit.
    /// @param operationId The id to burn; not zero.
    function setCountryHoldersMax(
        address token,
        uint16 country,
        uint32 holdersMax,
        bytes32 operationId
    ) external restricted once(operationId) {
        require(country < COUNTRIES, CountryInvalid(country));
        _registered(token).countries[country].holdersMax = holdersMax;
        emit CountryHoldersMaxSet(token, country, holdersMax);
    }

    /// @notice Sets the lots that an investor may not go below yet, in place of those set before.
    /// @param token A registered token.
    /// @param investor The investor's id, or the address of a wallet linked to nobody.
    /// @param amounts Base units of each lot; at most sixteen lots.
    /// @param unlocksAt From this second on the lot binds no longer.
    /// @param operationId The id to burn; not zero.
    function setLots(
        address token,
        bytes32 investor,
        uint256[] calldata amounts,
        uint64[] calldata unlocksAt,
        bytes32 operationId
    ) external restricted once(operationId) {
        require(investor != 0, InvestorInvalid(investor));
        require(amounts.length == unlocksAt.length, LengthMismatch(amounts.length, unlocksAt.length));
        require(amounts.length <= LOTS_MAX, LotsTooMany(amounts.length));
        TokenState storage state = _registered(token);
        if (amounts.length != 0) state.rules.lotted = true;
        delete state.lots[investor];
        for (uint256 i = 0; i < amounts.length; ++i) {
            require(amounts[i] <= type(uint192).max, LotTooLarge(amounts[i]));
            state.lots[investor].push(Lot(uint192(amounts[i]), unlocksAt[i]));
        }
        emit LotsSet(token, investor, amounts, unlocksAt);
    }

    /// @inheritdoc IComplianceRegistry
    function onTransfer(
        address spender,
        address from,
        address to,
        uint256 amount,
        uint256 fromBalance,
        uint256 toBalance
    ) external {
        TokenState storage state = _registered(_msgSender());
        Side memory sender = _side(state, from);
        Side memory receiver = _side(state, to);
        Restriction memory found = _judge(state, spender, from, to, amount, sender, receiver);
        if (found.code != Restrictions.ALLOWED)
            revert TransferRestricted(found.code, found.account, found.limit, found.actual);
        _count(state, from, to, amount, fromBalance, toBalance, sender, receiver);
    }

    /// @inheritdoc IComplianceRegistry
    function onForcedTransfer(
        address from,
        address to,
        uint256 amount,
        uint256 fromBalance,
        uint256 toBalance
    ) external {
        TokenState storage state = _registered(_msgSender());
        _count(state, from, to, amount, fromBalance, toBalance, _side(state, from), _side(state, to));
    }

    /// @inheritdoc IComplianceRegistry
    function check(
        address token,
        address spender,
        address from,
        address to,
        uint256 amount
    ) external view returns (Restriction memory) {
        TokenState storage state = _tokens[token];
        if (!state.rules.registered) return Restriction(Restrictions.REGISTRY_FAILED, token, 0, 0);
        return _judge(state, spender, from, to, amount, _side(state, from), _side(state, to));
    }

    /// @inheritdoc IComplianceRegistry
    function canSend(address token, address account) external view returns (bool) {
        return _eligible(token, account);
    }

    /// @inheritdoc IComplianceRegistry
    function canReceive(address token, address account) external view returns (bool) {
        return _eligible(token, account);
    }

    /// @notice What is known about an investor.
    /// @param investor The investor's id, or the address of a wallet linked to nobody.
    /// @return All zeros if nothing is.
    function identity(bytes32 investor) external view returns (Identity memory) {
        return _identities[investor];
    }

    /// @notice Whose wallet a wallet is.
    /// @param wallet The wallet.
    /// @return The investor's id; zero if it is nobody's.
    function investorOf(address wallet) external view returns (bytes32) {
        return _investors[wallet];
    }

    /// @notice The rules of a token.
    /// @param token The token.
    /// @return registered Whether it ever got any.
    /// @return rules The rules; the listed countries are asked one by one with `countryListed`.
    function policy(address token) external view returns (bool registered, Policy memory rules) {
        TokenState storage state = _tokens[token];
        Rules memory stored = state.rules;
        registered = stored.registered;
        rules = Policy({
            levelMin: stored.levelMin,
            countryRule: stored.countryRule,
            holdersMax: stored.holdersMax,
            countryHoldersMax: stored.countryHoldersMax,
            holdingMax: state.holdingMax
        });
    }

    /// @notice Whether the country rule of a token names a country.
    /// @param token The token.
    /// @param country ISO 3166-1 numeric.
    /// @return False for every number that no country has.
    function countryListed(address token, uint16 country) external view returns (bool) {
        return country < COUNTRIES && _listed(_tokens[token], country);
    }

    /// @notice What an investor holds of a token over all wallets.
    /// @param token The token.
    /// @param investor The investor's id, or the address of a wallet linked to nobody.
    /// @return Base units.
    function holding(address token, bytes32 investor) external view returns (uint256) {
        return _tokens[token].holdings[investor];
    }

    /// @notice How many investors hold a token.
    /// @param token The token.
    /// @return The number of investors, not of wallets.
    function holders(address token) external view returns (uint32) {
        return _tokens[token].rules.holders;
    }

    /// @notice How many investors of a country hold a token, and how many may.
    /// @param token The token.
    /// @param country ISO 3166-1 numeric; 0 for investors whose country is unknown.
    /// @return holders_ The number of investors.
    /// @return holdersMax The limit in force, be it the country's own or the policy's; 0 for none.
    function countryHolders(
        address token,
        uint16 country
    ) external view returns (uint32 holders_, uint32 holdersMax) {
        TokenState storage state = _tokens[token];
        CountryCount memory counted = state.countries[country];
        return (counted.holders, _countryLimit(counted, state.rules.countryHoldersMax));
    }

    /// @notice All lots of an investor, those that bind no longer included.
    /// @param token The token.
    /// @param investor The investor's id, or the address of a wallet linked to nobody.
    /// @return amounts Base units of each lot.
    /// @return unlocksAt From this second on the lot binds no longer.
    function lots(
        address token,
        bytes32 investor
    ) external view returns (uint256[] memory amounts, uint64[] memory unlocksAt) {
        Lot[] storage stored = _tokens[token].lots[investor];
        amounts = new uint256[](stored.length);
        unlocksAt = new uint64[](stored.length);
        for (uint256 i = 0; i < stored.length; ++i) {
            amounts[i] = stored[i].amount;
            unlocksAt[i] = stored[i].unlocksAt;
        }
    }

    /// @notice What an investor must go on holding for now.
    /// @param token The token.
    /// @param investor The investor's id, or the address of a wallet linked to nobody.
    /// @return The sum of the lots that still bind.
    function locked(address token, bytes32 investor) external view returns (uint256) {
        return _locked(_tokens[token], investor);
    }

    /// @notice How many tokens the list for `linkWallet` must name.
    /// @param wallet The wallet.
    /// @return Of how many registered tokens it has a balance.
    function tokensOfWallet(address wallet) external view returns (uint256) {
        return uint16(_walletTokens[wallet]);
    }

    /// @notice How many tokens the list for `setIdentity` must name.
    /// @param investor The investor's id, or the address of a wallet linked to nobody.
    /// @return How many registered tokens it holds.
    function tokensOfInvestor(bytes32 investor) external view returns (uint256) {
        return _investorTokens[investor];
    }

    /// @dev Counts the wallet's units with its next investor. A token that has given up this registry tells of no more
    /// moves, so its balances mean nothing here and its counts stay as they were.
    function _moveHolding(address token, address wallet, bytes32 former, bytes32 next) private {
        TokenState storage state = _registered(token);
        // slither-disable-next-line calls-loop the caller lists the tokens, each once
        if (IRegistered(token).registry() != address(this)) return;
        // slither-disable-next-line calls-loop the caller lists the tokens, each once
        uint256 amount = IRegistered(token).balanceOf(wallet);
        require(amount != 0, TokenNotHeld(token));
        Side memory sender = _sideOf(state, former);
        uint256 required = _locked(state, former);
        uint256 left = Math.saturatingSub(sender.holding, amount);
        if (left < required) revert TransferRestricted(Restrictions.LOCKED, wallet, required, left);
        _shift(state, amount, sender, _sideOf(state, next));
    }

    /// @dev Counts a move: first which tokens the two wallets have, then what the two investors hold.
    function _count(
        TokenState storage state,
        address from,
        address to,
        uint256 amount,
        uint256 fromBalance,
        uint256 toBalance,
        Side memory sender,
        Side memory receiver
    ) private {
        if (amount == 0 || from == to) return;
        unchecked {
            if (from != address(0) && fromBalance == 0) {
                uint256 held = _walletTokens[from];
                // Without a last token nothing is left of the sum, whatever a token once failed to tell of.
                _walletTokens[from] = uint16(held) > 1 ? held - _mark(_msgSender()) : 0;
            }
            if (to != address(0) && toBalance == amount) _walletTokens[to] += _mark(_msgSender());
        }
        _shift(state, amount, sender, receiver);
    }

    /// @dev Moves `amount`, which is not zero, from one investor to another, with all that follows from a holding's
    /// becoming or ceasing to be zero.
    function _shift(TokenState storage state, uint256 amount, Side memory sender, Side memory receiver) private {
        if (sender.investor == receiver.investor) return;
        if (sender.investor != 0 && sender.holding != 0) {
            uint256 left = Math.saturatingSub(sender.holding, amount);
            state.holdings[sender.investor] = left;
            // slither-disable-next-line incorrect-equality a holding that ends is exactly zero
            if (left == 0) {
                state.rules.holders -= 1;
                state.countries[sender.country].holders -= 1;
                _investorTokens[sender.investor] -= 1;
            }
        }
        if (receiver.investor != 0) {
            state.holdings[receiver.investor] = Math.saturatingAdd(receiver.holding, amount);
            if (receiver.holding == 0) {
                state.rules.holders += 1;
                state.countries[receiver.country].holders += 1;
                _investorTokens[receiver.investor] += 1;
            }
        }
    }

    /// @dev The one judgement of a move, by the state before it. The first broken rule is told: spender, sender,
    /// receiver, then amounts.
    function _judge(
        TokenState storage state,
        address spender,
        address from,
        address to,
        uint256 amount,
        Side memory sender,
        Side memory receiver
    ) private view returns (Restriction memory found) {
        if (spender != address(0) && spender != from && _identities[_investorIdOf(spender)].blocked)
            return Restriction(Restrictions.SPENDER_BLOCKED, spender, 0, 0);
        Rules memory rules = state.rules;
        if (from != address(0)) {
            found = _judgeSide(state, rules, from, sender);
            if (found.code != Restrictions.ALLOWED) return found;
        }
        if (to != address(0)) {
            found = _judgeSide(state, rules, to, receiver);
            if (found.code != Restrictions.ALLOWED) {
                found.code += RECEIVER;
                return found;
            }
        }
        // Moves among one investor's wallets change no holding, and nothing is nothing.
        if (amount == 0 || sender.investor == receiver.investor) return found;
        if (to != address(0)) {
            found = _judgeGain(state, rules, to, amount, sender, receiver);
            if (found.code != Restrictions.ALLOWED) return found;
        }
        if (from != address(0) && rules.lotted) {
            uint256 required = _locked(state, sender.investor);
            uint256 left = Math.saturatingSub(sender.holding, amount);
            if (left < required) return Restriction(Restrictions.LOCKED, from, required, left);
        }
    }

    /// @dev Whether an account may take part at all. The codes are the sender's.
    function _judgeSide(
        TokenState storage state,
        Rules memory rules,
        address account,
        Side memory side
    ) private view returns (Restriction memory found) {
        if (side.blocked) return Restriction(Restrictions.SENDER_BLOCKED, account, 0, 0);
        if (rules.levelMin != 0) {
            if (side.level == 0) return Restriction(Restrictions.SENDER_UNIDENTIFIED, account, rules.levelMin, 0);
            if (side.expiresAt != 0 && side.expiresAt <= block.timestamp)
                return Restriction(Restrictions.SENDER_EXPIRED, account, side.expiresAt, block.timestamp);
            if (side.level < rules.levelMin)
                return Restriction(Restrictions.SENDER_LEVEL, account, rules.levelMin, side.level);
        }
        if (rules.countryRule != 0 && _listed(state, side.country) != (rules.countryRule == RULE_LISTED_ONLY))
            return Restriction(Restrictions.SENDER_COUNTRY, account, 0, side.country);
    }

    /// @dev Whether the receiver's investor may hold more. A limit on holders stops only new ones, and one who leaves
    /// with the same move makes room.
    function _judgeGain(
        TokenState storage state,
        Rules memory rules,
        address to,
        uint256 amount,
        Side memory sender,
        Side memory receiver
    ) private view returns (Restriction memory found) {
        if (receiver.holding == 0) {
            uint256 leaving = sender.holding != 0 && sender.holding <= amount ? 1 : 0;
            uint256 after_ = uint256(rules.holders) + 1 - leaving;
            if (rules.holdersMax != 0 && after_ > rules.holdersMax)
                return Restriction(Restrictions.HOLDERS_MAX, to, rules.holdersMax, after_);
            CountryCount memory counted = state.countries[receiver.country];
            uint256 limit = _countryLimit(counted, rules.countryHoldersMax);
            after_ = uint256(counted.holders) + 1 - (sender.country == receiver.country ? leaving : 0);
            if (limit != 0 && after_ > limit) return Restriction(Restrictions.COUNTRY_HOLDERS_MAX, to, limit, after_);
        }
        if (rules.holdingLimited) {
            uint256 holdingMax = state.holdingMax;
            uint256 holdingAfter = Math.saturatingAdd(receiver.holding, amount);
            if (holdingAfter > holdingMax)
                return Restriction(Restrictions.HOLDING_MAX, to, holdingMax, holdingAfter);
        }
    }

    /// @dev Whether `account` may take part in moves of `token` at all.
    function _eligible(address token, address account) private view returns (bool) {
        TokenState storage state = _tokens[token];
        Rules memory rules = state.rules;
        if (!rules.registered) return false;
        // slither-disable-next-line incorrect-equality it compares a code, not an amount
        return _judgeSide(state, rules, account, _side(state, account)).code == Restrictions.ALLOWED;
    }

    function _setIdentity(
        bytes32 investor,
        uint16 country,
        uint8 level,
        uint64 expiresAt,
        address[] calldata tokens
    ) private {
        require(!_isWallet(investor), InvestorInvalid(investor));
        require(country < COUNTRIES, CountryInvalid(country));
        Identity storage identity_ = _identities[investor];
        uint16 former = identity_.country;
        if (former != country) {
            _checkTokens(tokens, _investorTokens[investor]);
            for (uint256 i = 0; i < tokens.length; ++i) {
                TokenState storage state = _registered(tokens[i]);
                require(state.holdings[investor] != 0, TokenNotHeld(tokens[i]));
                state.countries[former].holders -= 1;
                state.countries[country].holders += 1;
            }
        }
        address attester = _msgSender();
        _identities[investor] = Identity(country, level, identity_.blocked, expiresAt, attester);
        emit IdentitySet(investor, country, level, expiresAt, attester);
    }

    function _registered(address token) private view returns (TokenState storage state) {
        state = _tokens[token];
        require(state.rules.registered, TokenNotRegistered(token));
    }

    function _side(TokenState storage state, address account) private view returns (Side memory side) {
        if (account != address(0)) return _sideOf(state, _investorIdOf(account));
    }

    function _sideOf(TokenState storage state, bytes32 investor) private view returns (Side memory side) {
        Identity memory known = _identities[investor];
        side.investor = investor;
        side.country = known.country;
        side.level = known.level;
        side.blocked = known.blocked;
        side.expiresAt = known.expiresAt;
        side.holding = state.holdings[investor];
    }

    /// @dev The id under which a wallet is judged and counted.
    function _investorIdOf(address wallet) private view returns (bytes32 investor) {
        investor = _investors[wallet];
        if (investor == 0) investor = bytes32(uint256(uint160(wallet)));
    }

    /// @dev Ids of real investors are long random numbers; the short ones belong to wallets linked to nobody.
    function _isWallet(bytes32 investor) private pure returns (bool) {
        return uint256(investor) <= type(uint160).max;
    }

    function _listed(TokenState storage state, uint256 country) private view returns (bool) {
        return (state.listed[country / 256] >> (country % 256)) & 1 == 1;
    }

    function _countryLimit(CountryCount memory counted, uint32 general) private pure returns (uint32) {
        return counted.holdersMax != 0 ? counted.holdersMax : general;
    }

    function _locked(TokenState storage state, bytes32 investor) private view returns (uint256 sum) {
        Lot[] storage stored = state.lots[investor];
        uint256 length = stored.length;
        for (uint256 i = 0; i < length; ++i) {
            Lot memory lot = stored[i];
            if (lot.unlocksAt > block.timestamp) sum += lot.amount;
        }
    }

    /// @dev What a token adds to a wallet's word: its hash in the high 240 bits, and one in the low 16, which count.
    /// The sum wraps around.
    function _mark(address token) private pure returns (uint256) {
        return (uint256(keccak256(abi.encode(token))) << 16) | 1;
    }

    /// @dev Ascending, and as many as are held: with each of them held, none is missing.
    function _checkTokens(address[] calldata tokens, uint256 held) private pure {
        require(tokens.length == held, TokensIncomplete(held, tokens.length));
        for (uint256 i = 1; i < tokens.length; ++i) require(tokens[i - 1] < tokens[i], TokensUnsorted());
    }
}
