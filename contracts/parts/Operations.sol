// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.27;

import {Context} from "@openzeppelin/contracts/utils/Context.sol";

/// @title Each operation has one effect.
/// @notice A write by permission carries an id that is accepted once, so a repeated transaction changes nothing. The
/// list of ids belongs to this contract alone: an id copied to another contract is still free there. Beside each id
/// stands what burned it: whoever copies somebody's id into a call of its own makes the other's call fail, but never
/// look done.
abstract contract Operations is Context {
    /// @dev The Keccak-256 hash of the whole call that burned the id; zero while it is free.
    mapping(bytes32 operationId => bytes32 callHash) private _executed;

    /// @notice `actor` executed the operation `operationId` by calling the function `selector`.
    /// @param operationId The id, now burned on this contract.
    /// @param selector The first four bytes of the call, which tell the kinds of operation apart.
    /// @param actor The caller; the authority itself when it executed a scheduled call for somebody.
    event Operation(bytes32 indexed operationId, bytes4 indexed selector, address indexed actor);

    /// @notice The operation `operationId` was executed before; it never has a second effect.
    /// @param operationId The burned id.
    error OperationAlreadyExecuted(bytes32 operationId);

    /// @notice A write needs an operation id other than zero.
    error OperationIdMissing();

    /// @dev Burns `operationId`; stands after `restricted`, so that a stranger learns nothing about ids.
    modifier once(bytes32 operationId) {
        _burnOperation(operationId);
        _;
    }

    /// @notice Whether `operationId` is burned, by whatever call; `operationExecutedAs` tells whether by a certain one.
    /// @param operationId The id asked about.
    /// @return True from the block on in which the operation succeeded.
    function operationExecuted(bytes32 operationId) external view returns (bool) {
        return _executed[operationId] != 0;
    }

    /// @notice Whether `operationId` was burned by one certain call. It says what was called and not who called: the
    /// caller stands in `Operation`.
    /// @param operationId The id asked about.
    /// @param callHash The Keccak-256 hash of the call's whole calldata, which begins with the function's selector.
    /// @return True if the id is burned, and by a call with this calldata; false for a free id, whatever the hash.
    function operationExecutedAs(bytes32 operationId, bytes32 callHash) external view returns (bool) {
        return callHash != 0 && _executed[operationId] == callHash;
    }

    /// @dev A function and not the modifier's body, so that its code exists once a contract.
    function _burnOperation(bytes32 operationId) internal {
        require(operationId != 0, OperationIdMissing());
        require(_executed[operationId] == 0, OperationAlreadyExecuted(operationId));
        _executed[operationId] = keccak256(msg.data);
        emit Operation(operationId, msg.sig, _msgSender());
    }
}
