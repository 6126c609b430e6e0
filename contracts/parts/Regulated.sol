// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.27;

import {IComplianceRegistry} from "./IComplianceRegistry.sol";
import {Restriction, Restrictions} from "./Restrictions.sol";

/// @title A token whose transfers a registry judges and counts.
/// @notice The registry may be absent. It is trusted to judge, never to work: what must not fail goes on without it.
abstract contract Regulated {
    /// @dev What the registry may spend on an answer or a count that the token can do without. The registry's dearest
    /// count reads sixteen lots and writes a handful of words; this is several times that.
    uint256 internal constant HOOK_GAS = 400_000;

    /// @dev What the token itself spends around such a call: encoding, a cold account and the event after a failure.
    uint256 private constant OWN_GAS = 10_000;

    address private _registry;

    mapping(address registry => bool) private _outdated;

    /// @notice The registry is another one from here on.
    /// @param former The registry until now; zero if there was none.
    /// @param registry The registry from now on; zero if there is none.
    event RegistryChanged(address indexed former, address indexed registry);

    /// @notice A forced transfer or a burn took place although the registry failed to count it.
    /// @param registry The registry, whose counts differ from the balances now.
    event RegistrySkipped(address indexed registry);

    /// @notice A registry is set only while nothing is issued, because it counts from the first unit on.
    error RegistryFixed();

    /// @notice The registry was taken away while something was issued; it missed transfers and never comes back.
    /// @param registry The registry.
    error RegistryOutdated(address registry);

    /// @notice The call has too little gas to leave the registry its share.
    error HookGasTooLow();

    /// @notice The contract that judges and counts transfers.
    /// @return The registry; zero if there is none.
    function registry() public view returns (address) {
        return _registry;
    }

    /// @dev Whether any unit or deed exists.
    function _issued() internal view virtual returns (bool);

    /// @dev Sets the first registry or another one, or takes it away (zero), which is possible at any time.
    function _setRegistry(address registry_) internal {
        address former = _registry;
        if (_issued()) {
            require(registry_ == address(0), RegistryFixed());
            _outdated[former] = true;
        }
        require(registry_ == address(0) || !_outdated[registry_], RegistryOutdated(registry_));
        _registry = registry_;
        emit RegistryChanged(former, registry_);
    }

    /// @dev The registry's judgement of a public move; `spender` is zero if the holder acts. Never reverts.
    function _judge(
        address spender,
        address from,
        address to,
        uint256 amount
    ) internal view returns (Restriction memory) {
        address registry_ = _registry;
        if (registry_ == address(0)) return Restriction(Restrictions.ALLOWED, address(0), 0, 0);
        (bool answered, uint256[4] memory words) = _ask(
            registry_,
            abi.encodeCall(IComplianceRegistry.check, (address(this), spender, from, to, amount)),
            4
        );
        if (!answered || words[0] > type(uint8).max || words[1] > type(uint160).max)
            return Restriction(Restrictions.REGISTRY_FAILED, registry_, 0, 0);
        return Restriction(uint8(words[0]), address(uint160(words[1])), words[2], words[3]);
    }

    /// @dev Whether `account` may send at all: true without a registry, false when the registry fails. Never reverts.
    function _registryCanSend(address account) internal view returns (bool allowed) {
        (, allowed) = _askEligible(IComplianceRegistry.canSend.selector, account);
    }

    /// @dev Whether `account` may receive at all: true without a registry, false when it fails. Never reverts.
    function _registryCanReceive(address account) internal view returns (bool allowed) {
        (, allowed) = _askEligible(IComplianceRegistry.canReceive.selector, account);
    }

    /// @dev Whether the registry says no to `account` as a receiver. A registry that fails says nothing, so a forced
    /// transfer goes on. The gas is counted first: else too little of it would look like a failure.
    function _registryRefusesReceiver(address account) internal view returns (bool) {
        if (_registry == address(0)) return false;
        _requireHookGas();
        (bool answered, bool allowed) = _askEligible(IComplianceRegistry.canReceive.selector, account);
        return answered && !allowed;
    }

    /// @dev Lets the registry judge and count a public move in one call; the balances are those after it. Comes after
    /// every change of state, so that a registry that calls back finds nothing half done.
    function _afterTransfer(
        address spender,
        address from,
        address to,
        uint256 amount,
        uint256 fromBalance,
        uint256 toBalance
    ) internal {
        address registry_ = _registry;
        if (registry_ == address(0)) return;
        // slither-disable-next-line calls-loop a batch is judged move by move; one refusal refuses all
        IComplianceRegistry(registry_).onTransfer(spender, from, to, amount, fromBalance, toBalance);
    }

    /// @dev Lets the registry count what happened by permission. The gas is fixed and asked for beforehand: a node that
    /// estimates would otherwise find the amount at which the registry fails in silence.
    function _afterForced(
        address from,
        address to,
        uint256 amount,
        uint256 fromBalance,
        uint256 toBalance
    ) internal {
        address registry_ = _registry;
        if (registry_ == address(0)) return;
        bytes memory data = abi.encodeCall(
            IComplianceRegistry.onForcedTransfer,
            (from, to, amount, fromBalance, toBalance)
        );
        _requireHookGas();
        bool counted;
        // No returned byte is copied, or a registry could spend the token's own gas with a long answer.
        // slither-disable-next-line assembly Solidity copies the whole answer; see above
        assembly ("memory-safe") {
            counted := call(HOOK_GAS, registry_, 0, add(data, 0x20), mload(data), 0, 0)
        }
        // A call to an address without code succeeds and does nothing.
        if (!counted || registry_.code.length == 0) emit RegistrySkipped(registry_);
    }

    /// @dev EIP-150 keeps one part in 64 back from the callee, silently.
    function _requireHookGas() private view {
        uint256 left = gasleft();
        require(left - left / 64 >= HOOK_GAS + OWN_GAS, HookGasTooLow());
    }

    /// @dev Both answers are true without a registry; only 0 and 1 are answers of a registry.
    function _askEligible(bytes4 selector, address account) private view returns (bool answered, bool allowed) {
        address registry_ = _registry;
        if (registry_ == address(0)) return (true, true);
        uint256[4] memory words;
        (answered, words) = _ask(registry_, abi.encodeWithSelector(selector, address(this), account), 1);
        answered = answered && words[0] <= 1;
        allowed = answered && words[0] == 1;
    }

    /// @dev Exactly `count` words (at most four) or no answer; an address without code returns none.
    function _ask(
        address registry_,
        bytes memory data,
        uint256 count
    ) private view returns (bool answered, uint256[4] memory words) {
        // slither-disable-next-line assembly Solidity copies the whole answer; see above
        assembly ("memory-safe") {
            let size := mul(count, 0x20)
            answered := staticcall(HOOK_GAS, registry_, add(data, 0x20), mload(data), words, size)
            answered := and(answered, eq(returndatasize(), size))
        }
    }
}
