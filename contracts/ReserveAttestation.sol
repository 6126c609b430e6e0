// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.27;

import {AccessManaged} from "@openzeppelin/contracts/access/manager/AccessManaged.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {SignatureChecker} from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";
import {IReserve} from "./parts/IReserve.sol";
import {Operations} from "./parts/Operations.sol";
import {AuthorityMissing} from "./parts/TokenTerms.sol";

/// @title What an attester vouches for behind each token.
/// @notice A custodian or an auditor signs how much lies behind a token and until when the word holds; anyone brings
/// the signature here. A token that was made with this contract as its reserve cannot issue more than that, nor on an
/// expired word.
/// @dev The EIP-712 domain is ("ReserveAttestation", "1", chain id, this contract).
contract ReserveAttestation is IReserve, AccessManaged, EIP712, Operations {
    struct Reserve {
        address attester;
        uint64 issuedAt;
        // Zero while there is no attestation that counts; `issuedAt` never falls, so an old signature never returns.
        uint64 expiresAt;
        uint256 amount;
    }

    /// @notice The EIP-712 type hash of an attestation.
    bytes32 public constant ATTESTATION_TYPEHASH =
        keccak256("ReserveAttestation(address token,uint256 amount,uint64 issuedAt,uint64 expiresAt)");

    mapping(address token => Reserve) private _reserves;

    /// @notice `attester` alone vouches for `token` from now on; what was attested before no longer counts.
    /// @param token The token.
    /// @param attester The account whose signature counts; zero for nobody.
    event AttesterSet(address indexed token, address indexed attester);

    /// @notice The attester vouches for `amount` behind `token`.
    /// @param token The token.
    /// @param amount The largest supply that is backed, in the token's base units.
    /// @param issuedAt When the attester signed.
    /// @param expiresAt The first second at which the word no longer holds.
    /// @param attester The signer.
    event ReserveAttested(
        address indexed token, uint256 amount, uint64 issuedAt, uint64 expiresAt, address attester
    );

    /// @notice The token would have more outstanding than lies behind it.
    /// @param supply The supply as it would be.
    /// @param attested The supply that is backed.
    error ReserveExceeded(uint256 supply, uint256 attested);

    /// @notice The attestation is out of date.
    /// @param expiresAt The first second at which it no longer held.
    error ReserveExpired(uint64 expiresAt);

    /// @notice Nothing is attested for the token by its present attester.
    error ReserveMissing();

    /// @notice Nobody may attest for this token.
    /// @param token The token without an attester.
    error AttesterMissing(address token);

    /// @notice An attestation as new or newer is known, or the attester was named in that second or later.
    /// @param issuedAt When the one brought was signed.
    /// @param latest When the known one was signed, or the attester named.
    error AttestationStale(uint64 issuedAt, uint64 latest);

    /// @notice The attestation claims to be signed later than now.
    /// @param issuedAt When it claims to be signed.
    error AttestationFromFuture(uint64 issuedAt);

    /// @notice The signature is not the attester's for these figures, this chain and this contract.
    /// @param attester Whose it should be.
    error AttestationInvalid(address attester);

    /// @notice Makes the contract.
    /// @param authority_ The contract that decides who may name attesters.
    constructor(address authority_) AccessManaged(authority_) EIP712("ReserveAttestation", "1") {
        require(authority_.code.length != 0, AuthorityMissing());
    }

    /// @notice Names who vouches for a token. Voids the former attestation, also when the attester stays the same, and
    /// with it all that was signed up to now, whether brought here or not.
    /// @param token The token.
    /// @param attester The account whose signature counts, a contract with ERC-1271 or not; zero for nobody.
    /// @param operationId The id to burn; not zero.
    function setAttester(
        address token,
        address attester,
        bytes32 operationId
    ) external restricted once(operationId) {
        Reserve storage reserve = _reserves[token];
        reserve.attester = attester;
        reserve.amount = 0;
        reserve.expiresAt = 0;
        reserve.issuedAt = uint64(block.timestamp);
        emit AttesterSet(token, attester);
    }

    /// @notice Takes the attester's signed word; anyone may bring it.
    /// @param token The token.
    /// @param amount The largest supply that is backed, in the token's base units.
    /// @param issuedAt When the attester signed: later than the last attestation and than the second in which the
    /// attester was named, and not later than now.
    /// @param expiresAt The first second at which the word no longer holds; later than now.
    /// @param signature The attester's signature.
    function attest(
        address token,
        uint256 amount,
        uint64 issuedAt,
        uint64 expiresAt,
        bytes calldata signature
    ) external {
        Reserve storage reserve = _reserves[token];
        address attester = reserve.attester;
        require(attester != address(0), AttesterMissing(token));
        require(issuedAt <= block.timestamp, AttestationFromFuture(issuedAt));
        require(expiresAt > block.timestamp, ReserveExpired(expiresAt));
        require(issuedAt > reserve.issuedAt, AttestationStale(issuedAt, reserve.issuedAt));
        bytes32 digest =
            _hashTypedDataV4(keccak256(abi.encode(ATTESTATION_TYPEHASH, token, amount, issuedAt, expiresAt)));
        require(
            SignatureChecker.isValidSignatureNowCalldata(attester, digest, signature), AttestationInvalid(attester)
        );
        reserve.issuedAt = issuedAt;
        reserve.expiresAt = expiresAt;
        reserve.amount = amount;
        emit ReserveAttested(token, amount, issuedAt, expiresAt, attester);
    }

    /// @inheritdoc IReserve
    function requireBacked(uint256 supply) external view {
        Reserve storage reserve = _reserves[msg.sender];
        uint64 expiresAt = reserve.expiresAt;
        require(expiresAt != 0, ReserveMissing());
        require(block.timestamp < expiresAt, ReserveExpired(expiresAt));
        require(supply <= reserve.amount, ReserveExceeded(supply, reserve.amount));
    }

    /// @notice The last attestation for a token.
    /// @param token The token.
    /// @return amount The largest supply that is backed; zero if nothing is attested.
    /// @return issuedAt When the last attestation was signed, or, if none was since, when the attester was named.
    /// @return expiresAt The first second at which it no longer holds; zero if nothing is attested.
    /// @return attester Who may attest; zero for nobody.
    function attestation(
        address token
    ) external view returns (uint256 amount, uint64 issuedAt, uint64 expiresAt, address attester) {
        Reserve storage reserve = _reserves[token];
        return (reserve.amount, reserve.issuedAt, reserve.expiresAt, reserve.attester);
    }
}
